# SPDX-License-Identifier: Apache-2.0
"""The commands of export that `sst` offers: {title: {name: (module, what it does)}}."""

COMMANDS = {"Serve": {
    "export-saved-model": ("export.saved_model", "write a run as a SavedModel, the tuning step "
                                                 "inside its graph"),
    "export-onnx": ("export.onnx", "write a run as ONNX files"),
    "web": ("export.web", "write a run as a page that runs in the browser, photos never leave it"),
    "check": ("export.check", "prove that an exported version answers as its run does"),
    "serve": ("export.serve", "serve exported versions on this machine, for development"),
    "client": ("export.client", "send photos to a server, save masks, tell the latency"),
    "walkthrough": ("export.walkthrough", "export, serve, ask by REST and gRPC, draw, stop"),
    "bench-serve": ("export.bench", "measure served signatures against the work they cannot "
                                    "avoid"),
}}
