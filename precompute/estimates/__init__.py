"""What a run will take: time, memory and disk, worked out before anything is loaded.

`shapes` knows the sizes of a model without its weights, `workload` what a run will do, `work` what each
stage costs of it, `rates` how fast that goes and where the rates come from, `forecast` puts them together
and tries itself on runs that were made, `memory` and `disk` bound what must fit, `fit` refuses what cannot.
Nothing here imports torch.
"""
