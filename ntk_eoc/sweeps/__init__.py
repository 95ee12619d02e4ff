"""Sweeps: a config file becomes cells, cells become records. Knows files, but no kernel.

    config → experiment → grid → runner (workers) → store → records

A *point* is one choice of the grid's values; a *cell* is a point with some of its seeds, the unit
of work; a *record* is a finished cell on disk.
"""
