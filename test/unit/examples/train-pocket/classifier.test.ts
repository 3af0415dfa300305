import { crossEntropy } from "../../../../examples/train-pocket/classifier";
import { Tensor } from "../../../../lib/runtime/tensor";

it("crossEntropy is the mean negative log of the softmax's share for each label", async () => {
  const logits = [
    [1, 2, 0.5],
    [-1, 0, 3],
  ];
  const labels = [2, 0];
  const expected =
    logits.reduce((sum, row, item) => {
      const total = row.reduce((all, value) => all + Math.exp(value), 0);
      return sum - Math.log(Math.exp(row[labels[item]!]!) / total);
    }, 0) / 2;
  const loss = await crossEntropy(Tensor.from(logits.flat(), [2, 3]), labels).item();
  expect(loss).toBeCloseTo(expected, 5);
});
