"""From a sentence to motion: the pipeline, streams of latents, and in `fast/` what exists only for speed."""
