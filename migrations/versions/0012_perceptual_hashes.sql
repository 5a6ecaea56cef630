-- What a photo looks like, in 63 bits (core/vision/decoding/perceptual.py); 0: too flat to be judged by them.
-- Photos tagged before have none until they are tagged again. No rewrite of the table, and no index:
-- none finds hashes that differ by a few bits.
ALTER TABLE tagged_images ADD COLUMN perceptual_hash int8;
