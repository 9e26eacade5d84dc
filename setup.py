"""Package metadata; exact tested versions are in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="sst-tf",
    version="0.1.0",
    description="Self-supervised tuning for few-shot segmentation, in TensorFlow and Keras 3",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["sst_tf", "sst_tf.*", "pipelines", "pipelines.*", "export",
                                    "export.*"]),
    python_requires=">=3.11,<3.14",
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources>=6",  # tensorflow-datasets imports it and does not ask for it
        "numpy>=2.0",
        "scipy>=1.14",
        "opencv-python-headless>=4.11",
        "tf2onnx>=1.17",
        "pillow>=11",
        "pyyaml>=6",
        "jsonargparse[signatures]>=4.40",
        "tqdm>=4.66",
        "h5py>=3.12",
        "tensorboard>=2.20",
        "markdown>=3.5",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "serving": ["tensorflow-serving-api>=2.19", "onnxruntime>=1.20", "starlette>=0.46",
                    "uvicorn>=0.34", "requests>=2.32"],
        "coco": ["pycocotools>=2.0.8"],
        "prepare": ["scipy>=1.14"],
        "demo": ["gradio>=6"],
        "report": ["matplotlib>=3.9"],
        "dev": ["pytest>=8", "ruff>=0.9", "import-linter>=2.3", "hypothesis>=6.100",
                "pycocotools>=2.0.8", "dill>=0.3", "tensorflow-serving-api>=2.19",
                "onnxruntime>=1.20", "starlette>=0.46", "uvicorn>=0.34", "requests>=2.32",
                "matplotlib>=3.9", "selenium>=4.25", "pytest-xdist>=3.6", "gradio>=6"],
    },
)
