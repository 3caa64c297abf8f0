"""A table of the faces in very many photos, made in parts by several processes or a cluster, and taken up again.

    from ferlib.bulk.run import predict_table
    predict_table("photos/", "faces.parquet", workers=2)

The photos are listed once and cut into shards of a fixed size; each shard becomes one Parquet file, whole or not at
all. So a run that was killed goes on where it was, and its table is the same whatever happened, and however many
processes made it.
"""
