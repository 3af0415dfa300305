/**
 * Centres of clusters by Lloyd's algorithm, which begins with points spread evenly over the list, so that nothing is drawn.
 * @param points of one dimension, at least `count`
 * @returns `count` centres; a cluster that loses all its points keeps its centre
 */
export function kMeans(points: readonly (readonly number[])[], count: number): number[][] {
  const first = (cluster: number): number => Math.floor(((cluster + 0.5) * points.length) / count);
  const centres = Array.from({ length: count }, (_, cluster) => [...points[first(cluster)]!]);
  const distance = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0);
  const nearest = (point: readonly number[]): number => {
    const distances = centres.map((centre) => distance(point, centre));
    return distances.indexOf(Math.min(...distances));
  };
  for (let before = ""; ;) {
    const owners = points.map(nearest);
    if (owners.join() === before) return centres;
    before = owners.join();
    centres.forEach((centre, cluster) => {
      const own = points.filter((_, index) => owners[index] === cluster);
      if (own.length === 0) return;
      for (let i = 0; i < centre.length; i++)
        centre[i] = own.reduce((sum, point) => sum + point[i]!, 0) / own.length;
    });
  }
}
