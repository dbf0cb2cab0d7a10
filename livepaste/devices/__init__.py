"""Where frames come from and go to: one file each, one line here."""

SOURCES = {
    "camera": "livepaste.devices.camera:CameraSource",
    "clip": "livepaste.devices.playback:PlaybackSource",
    "url": "livepaste.devices.url:UrlSource",
    "pipe": "livepaste.devices.pipe:PipeSource",
}
SINKS = {
    "virtualcam": "livepaste.devices.virtualcam:VirtualCameraSink",
    "window": "livepaste.devices.window:WindowSink",
    "clip": "livepaste.devices.playback:ClipSink",
    "pipe": "livepaste.devices.pipe:PipeSink",
    "memory": "livepaste.devices.memory:MemorySink",
    "null": "livepaste.devices.memory:NullSink",
}
