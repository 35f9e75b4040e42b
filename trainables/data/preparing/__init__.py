"""Image files -> arrays of one size: kept on disk, or decoded whenever they are asked for."""
