"""A pixel source that checks how a sampler calls it."""

import torch
from torch import Tensor

from auxar.model import ImageSpec, PixelSource
from auxar.model.sources import coding_order
from auxar.testing.laws import broken, check_tensor, described


class NotingSource(PixelSource):
    """A pixel source that returns the pixels of a given image and records the parameters passed to it.

    It raises `ContractError` if a call is invalid, or requests a pixel before its predecessors: the pixels to its left,
    and the pixels of the rows above up to `reach` columns to its right. With a `lag`, it also raises the error for
    requests in another order than that of the lag.
    """

    def __init__(
        self, image: Tensor, spec: ImageSpec, parameter_count: int, reach: int, lag: int | None = None
    ) -> None:
        self.count = len(image)
        self.reach = reach
        self.lag = lag
        self.order = coding_order(spec, spec.width if lag is None else lag)
        self.spec = spec
        self.image = image.to(torch.int64)
        self.asked = torch.zeros((spec.height, spec.width), dtype=torch.bool)
        self.parameters = torch.zeros((len(image), parameter_count, spec.height, spec.width), dtype=torch.float64)

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        """Checks the call, records the parameters and returns the image's pixels at the places."""
        count = self.spec.height * self.spec.width
        if places.dtype != torch.int64 or places.dim() != 1 or not len(places):
            broken("source", f"places must be int64 of shape (n,) with n ≥ 1, got {described(places)}")
        if int(places.min()) < 0 or int(places.max()) >= count:
            broken("source", f"places must lie in 0 … {count - 1}, got {places.tolist()}")
        check_tensor("parameters", parameters, (len(places) * self.count, self.parameters.shape[1]), law="source")
        rows, columns = places.cpu() // self.spec.width, places.cpu() % self.spec.width
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if self.asked[row, column]:
                broken("source", f"the pixel in row {row}, column {column} was requested twice")
            before = self.asked[:row, : column + self.reach + 1].all() and self.asked[row, :column].all()
            if not before:
                message = (
                    f"the pixel in row {row}, column {column} was requested too early: all pixels to its left, and all "
                    f"pixels of the rows above up to {self.reach} columns to its right, come first"
                )
                broken("source", message)
        if self.lag is not None:
            done = int(self.asked.sum())
            next_ones = self.order[done : done + len(places)]
            if not torch.equal(places.cpu().sort().values, next_ones):
                message = f"a source with a lag of {self.lag} was asked for the places {places.tolist()}"
                broken("order", f"{message}, expected {next_ones.tolist()}")
        self.asked[rows, columns] = True
        by_image = parameters.cpu().double().view(len(places), self.count, -1).permute(1, 2, 0)
        self.parameters[:, :, rows, columns] = by_image
        return self.image[:, :, rows, columns].permute(2, 0, 1).to(places.device)

    def check_finished(self) -> None:
        """Raises `ContractError` if the sampler did not request every pixel."""
        if not self.asked.all():
            broken("source", "the sampler did not request every pixel", missing=(~self.asked).nonzero()[0].tolist())
