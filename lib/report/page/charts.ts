/** What draws charts: a bundle of its own, so that ECharts is no dependency of the package and is loaded only when needed. */
export { init } from "echarts";
