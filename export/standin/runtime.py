# SPDX-License-Identifier: Apache-2.0
"""SavedModels through TensorFlow's C runtime, which a model server uses; no Python TensorFlow.

The two libraries lie in the tensorflow wheel. Nothing is checked on the way in: what a request
holds reaches the graph as it is, as it would in a server.
"""

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

from export.standin.protos import config_pb2, meta_graph_pb2, tensorflow_folder

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8,
          9: np.int64, 10: np.bool_, 17: np.uint16, 19: np.float16, 22: np.uint32, 23: np.uint64}
NUMBERS = {np.dtype(kind): number for number, kind in DTYPES.items()}
STRING, STRING_BYTES = 7, 24
PREDICT = "tensorflow/serving/predict"  # other entries of the file are not for requests
CODES = {3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 8: "RESOURCE_EXHAUSTED",
         9: "FAILED_PRECONDITION", 12: "UNIMPLEMENTED", 13: "INTERNAL"}


class RuntimeFailure(Exception):
    """What the runtime said; `code` is TensorFlow's and gRPC's number, such as 3."""

    def __init__(self, code: int, message: str):
        super().__init__(f"{CODES.get(code, code)}: {message}")
        self.code = code


class _Output(Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


class _Buffer(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


def _library():
    folder = tensorflow_folder()
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"))
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    pointers = ("TF_NewStatus", "TF_NewSessionOptions", "TF_NewGraph", "TF_NewBuffer",
                "TF_NewBufferFromString", "TF_LoadSessionFromSavedModel",
                "TF_GraphOperationByName", "TF_AllocateTensor", "TF_TensorData",
                "TF_StringGetDataPointer")
    for name in pointers:
        getattr(library, name).restype = c_void_p
    library.TF_Message.restype = c_char_p
    for name in ("TF_TensorByteSize", "TF_StringGetSize"):
        getattr(library, name).restype = c_size_t
    library.TF_Dim.restype = c_int64
    return library


class SavedModel:
    """A loaded SavedModel.

    Args:
        folder: the version's folder.

    Attributes:
        signatures: {name: (inputs, outputs)}, each {name: `TensorInfo`}, of what can be asked.
        definitions: {name: `SignatureDef`} of all that the file names.
    """

    def __init__(self, folder: str | Path):
        self._tf = tf = _library()
        status, graph, buffer = (c_void_p(tf.TF_NewStatus()), c_void_p(tf.TF_NewGraph()),
                                 c_void_p(tf.TF_NewBuffer()))
        options = c_void_p(tf.TF_NewSessionOptions())
        self._session = c_void_p(tf.TF_LoadSessionFromSavedModel(
            options, None, str(folder).encode(), (c_char_p * 1)(b"serve"), 1, graph, buffer,
            status))
        self._graph = graph
        self._finish(status)
        content = ctypes.cast(buffer, POINTER(_Buffer)).contents
        meta = meta_graph_pb2.MetaGraphDef.FromString(
            ctypes.string_at(content.data, content.length))
        tf.TF_DeleteBuffer(buffer)
        self.definitions = dict(meta.signature_def)
        self.signatures = {name: (dict(one.inputs), dict(one.outputs))
                           for name, one in self.definitions.items()
                           if one.method_name == PREDICT}

    def run(self, signature: str, inputs: dict[str, np.ndarray],
            outputs: list[str] | None = None, seconds: float | None = None
            ) -> dict[str, np.ndarray]:
        """{output: array} for {input: array}; bytes are object arrays. Safe from many threads.

        Args:
            outputs: names of those to compute; all unless told.
            seconds: after which the runtime gives up with DEADLINE_EXCEEDED.

        Raises:
            KeyError: no such signature, input or output.
            RuntimeFailure: what the graph or the runtime refused.
        """
        tf = self._tf
        taken, given = self.signatures[signature]
        given = given if outputs is None else {name: given[name] for name in outputs}
        feeds = [self._output(taken[name].name) for name in inputs]
        fetches = [self._output(info.name) for info in given.values()]
        values = (c_void_p * len(inputs))()
        try:
            for i, value in enumerate(inputs.values()):
                values[i] = self._tensor(value)
        except RuntimeFailure:
            self._delete(values)
            raise
        answers = (c_void_p * len(fetches))()
        status = c_void_p(tf.TF_NewStatus())
        options = self._options(seconds)
        tf.TF_SessionRun(
            self._session, options, (_Output * len(feeds))(*feeds), values, len(feeds),
            (_Output * len(fetches))(*fetches), answers, len(fetches), None, 0, None, status)
        self._delete(values)
        if options:
            tf.TF_DeleteBuffer(options)
        self._finish(status)
        return {name: self._array(c_void_p(a)) for name, a in zip(given, answers, strict=True)}

    def __del__(self):
        """Give the memory back; a server drops versions while it runs."""
        if session := getattr(self, "_session", None):
            status = c_void_p(self._tf.TF_NewStatus())
            self._tf.TF_CloseSession(session, status)
            self._tf.TF_DeleteSession(session, status)
            self._tf.TF_DeleteStatus(status)
            self._tf.TF_DeleteGraph(self._graph)

    def _options(self, seconds):
        if seconds is None:
            return None
        # The runtime takes 0 for no limit.
        data = config_pb2.RunOptions(timeout_in_ms=max(1, int(1000 * seconds))).SerializeToString()
        return c_void_p(self._tf.TF_NewBufferFromString(data, c_size_t(len(data))))

    def _delete(self, values):
        for value in values:
            if value:
                self._tf.TF_DeleteTensor(c_void_p(value))

    def _finish(self, status):
        code, message = self._tf.TF_GetCode(status), self._tf.TF_Message(status)
        self._tf.TF_DeleteStatus(status)
        if code:
            raise RuntimeFailure(code, message.decode(errors="replace"))

    def _output(self, tensor):
        name, _, index = tensor.partition(":")
        return _Output(self._tf.TF_GraphOperationByName(self._graph, name.encode()), int(index))

    def _tensor(self, array):
        array = np.asarray(array, order="C")
        text = array.dtype == object or array.dtype.kind == "S"
        if not text and array.dtype not in NUMBERS:
            raise RuntimeFailure(3, f"no tensor type for {array.dtype}")
        number = STRING if text else NUMBERS[array.dtype]
        size = array.size * STRING_BYTES if text else array.nbytes
        tensor = self._tf.TF_AllocateTensor(c_int(number), (c_int64 * array.ndim)(*array.shape),
                                            c_int(array.ndim), c_size_t(size))
        if not tensor:
            raise RuntimeFailure(8, f"no memory for {size} bytes")
        data = self._tf.TF_TensorData(c_void_p(tensor))
        if text:
            for i, one in enumerate(array.ravel()):
                place, value = c_void_p(data + i * STRING_BYTES), bytes(one)
                self._tf.TF_StringInit(place)
                self._tf.TF_StringCopy(place, value, c_size_t(len(value)))
        elif size:
            ctypes.memmove(data, array.ctypes.data, size)
        return tensor

    def _array(self, tensor):
        tf = self._tf
        shape = [tf.TF_Dim(tensor, c_int(i)) for i in range(tf.TF_NumDims(tensor))]
        data, number = tf.TF_TensorData(tensor), tf.TF_TensorType(tensor)
        if number == STRING:
            places = [c_void_p(data + i * STRING_BYTES) for i in range(int(np.prod(shape)))]
            texts = [ctypes.string_at(tf.TF_StringGetDataPointer(p), tf.TF_StringGetSize(p))
                     for p in places]
            array = np.array(texts, object).reshape(shape)
        else:
            raw = ctypes.string_at(data, tf.TF_TensorByteSize(tensor))
            array = np.frombuffer(raw, DTYPES[number]).reshape(shape)
        tf.TF_DeleteTensor(tensor)
        return array
