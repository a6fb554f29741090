"""What faulty_fs.py can be armed with: byte 0 of the shared file is the number of a kind, byte 1 counts what fired."""

KINDS = ("notify_store", "invalidate_inode", "invalidate_entry")
