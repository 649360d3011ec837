"""A diagnosis as terminal text, Markdown, HTML, JSON, pictures and tables."""
