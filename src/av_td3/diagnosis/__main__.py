"""``python -m av_td3.diagnosis PATH...``"""

import typer

from .cli import diagnose

if __name__ == "__main__":
    typer.run(diagnose)
