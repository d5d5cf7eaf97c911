"""What people work in: JupyterLab, TensorBoard, and the checks of a commit."""
