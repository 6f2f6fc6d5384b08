"""The partitions: one per registered scene."""

from dagster import DynamicPartitionsDefinition

from constellation_pipelines.domain.names import SCENES

scenes = DynamicPartitionsDefinition(name=SCENES)
