"""MoSa (arXiv 2511.01200): a motion as codes of ten scales, coarse to fine, and a transformer that predicts them.

tokenizer    CAQ-VAE: motion <-> latents, with the quantizer in between
quantizer    latents <-> codes of every scale (multi-scale token preservation)
text         sentences -> token states
transformer  text -> codes, a whole scale at each pass
"""
