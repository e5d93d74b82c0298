"""Makes 2-D turbulence subgrid-forcing data and serves it as a TFDS dataset."""
