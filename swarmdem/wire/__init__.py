"""Bytes <-> meaning: what peers say, how it is framed, signed, cut into chunks and addressed.

Pure functions and frozen structs. Nothing here knows a clock, a socket or what a message leads to.
"""
