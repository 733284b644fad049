"""Training clips from raw video: found, measured, sorted out, cut and packed into WebDataset shards.

`build` is all of it. Each step is a function of its own:

| step | file |
|---|---|
| what there is | `source_files.py`, `video/media_facts.py` |
| frames at 25 per second | `steady_frames.py` |
| shots, and faces through them | `face_scan.py` |
| which stretches become clips | `clip_plans.py` |
| crop, and what is measured in it | `clip_cutting.py`, `burnt_in_text.py`, `sound_print.py` |
| sound in step with the picture | `sync_shift.py` |
| what is kept | `clip_filters.py` |
| all of these for one stretch of one file | `part_making.py` |
| which processes do it, what is done | `part_workers.py`, `build_folder.py` |
| who is who, duplicates, splits | `people.py`, `duplicates.py` |
| shards and index | `shard_packing.py` |
| report.html | `corpus_report.py` |
"""
