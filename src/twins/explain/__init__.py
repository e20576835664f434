"""What a network looks at: its attention, and which parts of an image speak for a class or a detection.

`attention` captures what LSA and GSA attend to (`local_attention`, `global_attention`), and `rollout` follows that
through the network; `cam` has Grad-CAM and LayerCAM, and `scores` what they explain. `sheets` writes both for
`twins predict --explain`, as its `question` asks.
"""
