"""Bytes through memory are counted exactly where they can be known: slices, updates in place, loops, copies."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from empatheia_jax.parallel import hlo

TEXT = """HloModule jit_step

%fused_slice (p0: bf16[4,64,64], p1: s32[]) -> bf16[64,64] {
  %p0 = bf16[4,64,64]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = bf16[1,64,64]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,64,64}
  ROOT %flat = bf16[64,64]{1,0} bitcast(%slice)
}

%fused_write (p0: bf16[4,8,64], p1: bf16[1,1,64], p2: s32[]) -> bf16[4,8,64] {
  %p0 = bf16[4,8,64]{2,1,0} parameter(0)
  %p1 = bf16[1,1,64]{2,1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %twice = bf16[1,1,64]{2,1,0} add(%p1, %p1)
  ROOT %written = bf16[4,8,64]{2,1,0} dynamic-update-slice(%p0, %twice, %zero, %p2, %zero)
}

%body (p: (s32[], bf16[4,64,64], bf16[1,1,64], bf16[4,8,64])) -> (s32[], bf16[4,64,64], bf16[1,1,64], bf16[4,8,64]) {
  %i = s32[] get-tuple-element(%p), index=0
  %w = bf16[4,64,64]{2,1,0} get-tuple-element(%p), index=1
  %x = bf16[1,1,64]{2,1,0} get-tuple-element(%p), index=2
  %c = bf16[4,8,64]{2,1,0} get-tuple-element(%p), index=3
  %layer = bf16[64,64]{1,0} fusion(%w, %i), kind=kLoop, calls=%fused_slice
  %y = bf16[1,1,64]{2,1,0} dot(%x, %layer), lhs_contracting_dims={2}, rhs_contracting_dims={0}
  %cache = bf16[4,8,64]{2,1,0} fusion(%c, %y, %i), kind=kLoop, calls=%fused_write
  ROOT %out = (s32[], bf16[4,64,64], bf16[1,1,64], bf16[4,8,64]) tuple(%i, %w, %y, %cache)
}

%condition (p: (s32[], bf16[4,64,64], bf16[1,1,64], bf16[4,8,64])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: bf16[4,64,64]) -> bf16[4,64,64] {
  %a = bf16[4,64,64]{2,1,0} parameter(0)
  %turned = bf16[4,64,64]{1,2,0} transpose(%a), dimensions={0,2,1}
  ROOT %w = (s32[], bf16[4,64,64], bf16[1,1,64], bf16[4,8,64]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"4"}}
}
"""  # noqa: E501
LAYER, ROW, INDEX = 2 * 64 * 64, 2 * 64, 4


def test_a_slice_reads_what_it_takes_and_an_update_writes_what_it_puts():
    program = hlo.Program(TEXT)
    sliced = 2 * LAYER + INDEX  # read out of the stack and written down: a copy
    product = LAYER + 2 * ROW
    written = 2 * ROW + INDEX
    assert hlo.traffic(program, "body") == hlo.Traffic(sliced + product + written, sliced)
    turned = 2 * 4 * LAYER
    assert hlo.traffic(program) == hlo.Traffic(turned + 4 * (sliced + product + written), turned + 4 * sliced)


def test_a_loop_that_only_the_run_can_end_is_found():
    assert hlo.Program(TEXT).open_loops() == []
    assert hlo.Program(TEXT.replace('"known_trip_count":{"n":"4"}', "")).open_loops() == ["body"]


def test_a_product_compiled_here_moves_its_operands_and_its_result():
    a, b = jnp.zeros((256, 128)), jnp.zeros((128, 64))
    program = hlo.Program(jax.jit(jnp.matmul).lower(a, b).compile().as_text())
    assert hlo.traffic(program).moved == a.nbytes + b.nbytes + 4 * 256 * 64
