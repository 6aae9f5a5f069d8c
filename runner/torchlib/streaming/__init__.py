"""Data that does not fit in memory: surveyed once, then read again in every epoch.

source          what a kind of files has to offer, so that the rest need not know of it
tables, images  Parquet files and folders of images
table_reads, image_reads  what of that runs in the reading processes, which need no PyTorch
order           the order of an epoch in which rows that lie together are read together
moments         what a pass over the data tells, a part at a time
survey          the passes before a training: classes, split, mean and deviation, held-out samples
feed            the windows of a training, read ahead of its steps
gather          what ranks tell each other
"""
