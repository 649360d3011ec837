"""The rasteriser: from a map and boxes to pictures, on a CPU.

``light`` turns the weather into colours, ``ground`` the map into a texture, ``shapes`` and ``mesh``
boxes into quadrilaterals, ``painter`` says which of them a camera sees, ``picture`` and
``geometry`` draw them; ``kernels`` has the loops of all of that.
"""
