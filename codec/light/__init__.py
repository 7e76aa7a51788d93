"""The decoder `vq` without torch: NumPy for what the bits mean, onnxruntime for the picture.

    from codec import light
    image = light.load().decode(data)      # a PIL image

The codes are those of `codec.decode`, the picture is within one grey level of its. It starts in a fraction of the time.
"""

from codec.light.decoder import LightCodec, graph_of, load

__all__ = ["LightCodec", "graph_of", "load"]
