"""TD3 on images: encoders, heads, the update, replay, exploration."""
