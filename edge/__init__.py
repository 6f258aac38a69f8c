"""The daemon: intake, store, imaging, analysis and alerts. Knows DICOM, studies and MQTT."""
