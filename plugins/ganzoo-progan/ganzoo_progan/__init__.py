"""Progressive growing of GANs (Karras et al., ICLR 2018) for ganzoo."""
