"""Counts, against closed forms."""

import pytest
import torch
import torch.nn.functional as F

from ganzoo.profiling.counting import CountSteps


def counted(run, held=()):
    with CountSteps(held) as counts:
        run()
    return counts


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_and_each_of_its_gradients_are_as_many_operations(groups):
    x = torch.randn(3, 8, 6, 6, requires_grad=True)
    w = torch.randn(12, 8 // groups, 3, 3, requires_grad=True)
    once = 2 * 3 * 12 * (8 // groups) * 9 * 6 * 6
    assert counted(lambda: F.conv2d(x, w, padding=1, groups=groups)).flops == once
    assert counted(lambda: F.conv2d(x, w, padding=1, groups=groups).sum().backward()).flops == 3 * once
    assert counted(lambda: F.conv2d(x.detach(), w, padding=1, groups=groups).sum().backward()).flops == 2 * once


def test_a_strided_and_a_transposed_convolution_of_the_same_shape_cost_the_same():
    wide, narrow = torch.randn(2, 5, 8, 8), torch.randn(2, 7, 4, 4)
    w = torch.randn(7, 5, 2, 2)
    expected = 2 * 2 * (4 * 4) * 7 * 5 * 4
    assert counted(lambda: F.conv2d(wide, w, stride=2)).flops == expected
    assert counted(lambda: F.conv_transpose2d(narrow, w, stride=2)).flops == expected


def test_second_derivatives_are_counted():
    """A penalty on the gradient of a linear layer: forward, gradient, and the gradient of that by the weight."""
    x, w = torch.randn(4, 6, requires_grad=True), torch.randn(1, 6, requires_grad=True)

    def penalty():
        (grad,) = torch.autograd.grad((x @ w.T).sum(), x, create_graph=True)
        grad.square().sum().backward(inputs=[w])

    assert counted(penalty).flops == 3 * (2 * 4 * 6)


def test_what_computes_nothing_is_no_kernel():
    x = torch.randn(2, 3, 4)

    def look():
        torch.empty_like(x).detach()
        x.view(6, 4).t()[1:].unsqueeze(0).expand(2, -1, -1)
        x.flatten().unflatten(0, (2, 12)).chunk(2)

    assert counted(look).kernels == 0
    assert counted(lambda: x.add(1).mul_(2).sum()).kernels == 3
    assert counted(lambda: torch._foreach_add_([x, x.clone()], 1.0)).kernels == 2


def test_reading_a_number_is_a_wait_and_no_kernel():
    x = torch.ones(())
    counts = counted(lambda: x.item())
    assert (counts.waits, counts.kernels) == (1, 0)


def test_bytes_are_those_in_memory():
    x, row = torch.zeros(10, 100), torch.zeros(1, 100)
    assert counted(lambda: x + 1).bytes_moved == 2 * 4000
    assert counted(lambda: x + row.expand(10, 100)).bytes_moved == 2 * 4000 + 400
    assert counted(lambda: torch._foreach_mul_([x, row], 2.0)).bytes_moved == 2 * 4400


def test_the_peak_counts_what_lives_at_one_time():
    held = torch.zeros(1000)

    def chain():
        x = held
        for _ in range(5):
            x = x + 1  # the one before goes

    counts = counted(chain, [held, held.view(10, 100)])
    assert counts.held_bytes == 4000
    assert counts.peak_bytes == 3 * 4000
    assert counts.live_bytes == 4000


def test_the_peak_includes_what_is_kept_for_the_backward_pass():
    x = torch.randn(1000, requires_grad=True)
    for depth in (1, 5, 9):

        def squares(depth=depth):
            y = x
            for _ in range(depth):
                y = y * y  # keeps its input
            return y

        assert counted(squares, [x]).peak_bytes == (1 + depth) * 4000


def test_counts_are_the_same_with_any_number_of_threads():
    x, w = torch.randn(8, 16, 16, 16, requires_grad=True), torch.randn(16, 16, 3, 3, requires_grad=True)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            x.grad = w.grad = None
            counts = counted(lambda: F.conv2d(x, w).relu().mean().backward(), [x, w])
            found.append((counts.flops, counts.kernels, counts.bytes_moved, counts.peak_bytes))
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1
