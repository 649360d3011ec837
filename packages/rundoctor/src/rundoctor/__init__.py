"""What went wrong in a training run, read from its files alone.

Needs neither torch nor carla and depends on nothing else of this package.
:func:`rundoctor.load.load` finds and reads runs, :func:`rundoctor.engine.diagnose`
judges one, ``report`` writes it down.
"""
