"""Films, cameras and streams: their faces followed from frame to frame, and the expressions of each, smoothed.

    from ferlib.video.predictor import VideoPredictor
    table = VideoPredictor().predict("interview.mp4")   # a row a face and frame, raw and smoothed
    table.write("interview.csv")
    table.summary()                                     # seconds of every expression, a track

The light half with the extra `video` (PyAV to decode, scipy to assign faces to tracks); PyTorch is not imported.
"""
