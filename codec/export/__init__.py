"""From a loaded model to files that other programs run: ONNX graphs, and the integers that decide what bits mean."""
