"""Cameras, virtual cameras, clips, windows and pipes: one file each."""
