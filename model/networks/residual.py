"""MONAI's DenseNet121, SEResNet50 and ResNet18, from a random start."""

from typing import Any

from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.resnet import resnet18
from monai.networks.nets.senet import SEResNet50
from torch import Tensor, nn

from model.networks.registry import Wanted, register


@register("densenet121")
def densenet121(wanted: Wanted) -> nn.Module:
    """Return DenseNet121 (Huang et al. 2017) up to the activation before its pooling."""
    whole: Any = DenseNet121(spatial_dims=2, in_channels=3, out_channels=1, pretrained=False)
    return nn.Sequential(whole.features, nn.ReLU())


class SEResNet50Features(SEResNet50):
    """SEResNet50 (Hu et al. 2018) up to its last feature map."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``features_NCHW``."""
        features_NCHW: Tensor = self.features(x)
        return features_NCHW


@register("seresnet50")
def seresnet50(wanted: Wanted) -> nn.Module:
    """Return SEResNet50 without its pooling and its last layer."""
    backbone = SEResNet50Features(spatial_dims=2, in_channels=3, num_classes=1, pretrained=False)
    backbone.add_module("last_linear", nn.Identity())
    return backbone


@register("resnet18")
def resnet18_features(wanted: Wanted) -> nn.Module:
    """Return ResNet18 (He et al. 2016) with the stem of stride 2; MONAI's default stem has stride 1."""
    whole = resnet18(spatial_dims=2, n_input_channels=3, num_classes=1, conv1_t_stride=2, pretrained=False)
    stem = (whole.conv1, whole.bn1, whole.act, whole.maxpool)
    return nn.Sequential(*stem, whole.layer1, whole.layer2, whole.layer3, whole.layer4)
