"""Installation of tfp_genext."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "tfp_genext" / "_version.py").read_text(encoding="utf-8")
).group(1)

# TensorFlow, TFP and Keras each have private names that the package leans on, with a test for each
# (tests/core/test_tracking.py, tests/bijectors): the ranges are those that the tests have passed.
REQUIRED = [
    "tensorflow>=2.21,<2.22",
    "tensorflow-probability>=0.25,<0.26",
    "tf-keras>=2.21,<2.22",
    "keras>=3.15,<3.16",
    "h5py>=3.11",
    "packaging",
    "numpy>=1.26,<2.4",  # TFP 0.25 calls np.reshape(newshape=), which NumPy 2.4 no longer has.
]
TUTORIALS = ["matplotlib>=3.8", "scikit-learn>=1.4"]
CONVERT = ["tf2onnx>=1.17", "onnxruntime>=1.18"]
SERVING = ["tensorflow-serving-api>=2.19"]
TEST = [
    "pytest>=8.0",
    "pytest-xdist>=3.8",
    "mypy>=1.11",
    "ruff>=0.6",
    "hypothesis>=6.100",
    "scipy>=1.11",
    "tensorboard>=2.19",
    *TUTORIALS,
    *SERVING,
    *CONVERT,
]

setup(
    name="tfp_genext",
    version=VERSION,
    description="Generative models for TensorFlow Probability and Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["tfp_genext", "tfp_genext.*"]),
    package_data={"tfp_genext": ["py.typed"]},
    install_requires=REQUIRED,
    extras_require={"test": TEST, "tutorials": TUTORIALS, "serving": SERVING, "convert": CONVERT},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
