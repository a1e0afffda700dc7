"""Short names for types, for heads and segmentors that were written for mmsegmentation."""

from collections.abc import Sequence

from torch import Tensor

from gcseg.structures import SegDataSample

ConfigType = dict  # mmengine's ConfigDict is one
OptConfigType = ConfigType | None
MultiConfig = ConfigType | Sequence[ConfigType]
OptMultiConfig = MultiConfig | None

SampleList = Sequence[SegDataSample]
OptSampleList = SampleList | None

TensorDict = dict[str, Tensor]
TensorList = Sequence[Tensor]

ForwardResults = TensorDict | list[SegDataSample] | tuple[Tensor] | Tensor
