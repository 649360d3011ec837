"""``python -m av_td3`` is ``av-td3``."""

from av_td3.cli import main

main()
