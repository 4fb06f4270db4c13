"""The parallel first load: many workers read a database's list of documents, PostgreSQL is what they share.

The list is divided into chunks. Meanwhile the pipeline follows the changes from the sequence taken before the
start; what it has written is newer than what a chunk holds, and stays.
"""
