"""What went wrong in a training run, read from its files alone.

Needs neither torch nor carla and depends on nothing else of this package.
:func:`av_td3.diagnosis.load.load` finds and reads runs, :func:`av_td3.diagnosis.engine.diagnose`
judges one, ``report`` writes it down.
"""
