import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** Mean and covariance of features, the latter as a factor of it. In float64. */
export interface Gaussian {
  /** (d) */
  readonly mean: Tensor;
  /** F with FᵀF the covariance, (r, d). */
  readonly factor: Tensor;
}

/**
 * The Gaussian that fits features best, its covariance divided by n - 1.
 * @param features (n, d), n at least 2
 */
export function gaussianOf(features: Tensor): Gaussian {
  const [n, d] = features.shape as [number, number];
  return scope(() => {
    const rows = features.to("float64");
    const mean = rows.mean(0);
    const centred = rows.sub(mean).div(Math.sqrt(n - 1));
    // Of few features the rows are a factor by themselves, without any rounding to zero eigenvalues.
    return { mean, factor: n <= d ? centred : factorOf(centred.transpose(0, 1).matmul(centred)) };
  });
}

/** F with FᵀF = covariance: the eigenvectors as rows, √λ long. @param covariance (d, d) float64, symmetric */
export function factorOf(covariance: Tensor): Tensor {
  return scope(() => {
    const vectors = covariance.eigenvectors();
    const values = covariance.matmul(vectors).mul(vectors).sum(0).clamp(0, Infinity);
    return vectors.mul(values.sqrt()).transpose(0, 1).contiguous();
  });
}

/**
 * Fréchet's distance of two Gaussians (arXiv 1706.08500, section 3), squared as FID has it:
 * ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½). With Σ = FᵀF the last trace is the sum of the singular values of F₁F₂ᵀ: their
 * squares are the eigenvalues of Σ₁Σ₂ that are not 0.
 */
export async function frechetDistance(first: Gaussian, second: Gaussian): Promise<number> {
  const distance = scope(() => {
    const trace = ({ factor }: Gaussian): Tensor => factor.square().sum();
    const cross = first.factor.matmul(second.factor.transpose(0, 1)).singularValues().sum();
    return first.mean.sub(second.mean).square().sum().add(trace(first)).add(trace(second)).sub(cross.mul(2));
  });
  try {
    // What rounds to less than nothing is two equal sets.
    return Math.max(0, await distance.item());
  } finally {
    distance.dispose();
  }
}
