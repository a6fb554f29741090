"""Frames between supervisor, fs and control: fixed types, one module for each pair, and their codec.
Pure: bytes in, frames out.

Each pair of processes has a fresh SEQPACKET socketpair per start, so a frame is a packet: there is no half of one, and
nothing of a process that died is ever read as a word of its successor.
"""
