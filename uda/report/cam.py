"""Class activation maps of two models side by side on the same images."""

from collections.abc import Sequence

import numpy as np

from uda.report.canvas import new_figure, plain, png_bytes


def activation_figure(
    images: np.ndarray, columns: Sequence[tuple[str, np.ndarray]], captions: Sequence[Sequence[str]]
) -> bytes:
    """Return a row for each image as PNG: the image, then each model's map laid over it.

    images: (n, 3, H, W) uint8; columns: title and maps (n, h, w) of each model; captions: for each image what stands
    below it and below each map. Evidence against the class is not drawn; each map is scaled by its own largest value.
    """
    n, wide = len(images), 1 + len(columns)
    if any(len(maps) != n for _, maps in columns) or [len(row) for row in captions] != [wide] * n:
        raise ValueError(f"{n} images need as many maps in each column, and {wide} captions each")
    side = 1.5
    figure = new_figure(side * wide, (side + 0.25) * n + 0.3)
    axes = figure.subplots(n, wide, squeeze=False)
    for row, (image, written) in enumerate(zip(images, captions, strict=True)):
        extent = (0, image.shape[2], image.shape[1], 0)
        for ax, text in zip(axes[row], written, strict=True):
            ax.imshow(np.moveaxis(image, 0, -1), extent=extent, interpolation="antialiased")
            ax.set_xlabel(plain(text), fontsize=8, labelpad=2)
        for ax, (_, maps) in zip(axes[row, 1:], columns, strict=True):
            shown = np.maximum(maps[row], 0)
            ax.imshow(
                shown, cmap="jet", alpha=0.5, vmin=0, vmax=shown.max() or 1.0, extent=extent, interpolation="bilinear"
            )
    for ax, title in zip(axes[0], ["image", *(title for title, _ in columns)], strict=True):
        ax.set_title(plain(title, 22), fontsize=9)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    return png_bytes(figure, palette=True)
