"""The rasteriser: from a map and boxes to pictures, on a CPU.

``light`` turns the weather into colours, ``ground`` the map into a texture, ``mesh``
boxes into quadrilaterals, ``painter`` projects and orders them, ``picture`` draws.
"""
