import { METHOD_NAMES } from "../../../lib/erasure/registry";
import { describeMethod } from "../../support/method-contract";

METHOD_NAMES.forEach(describeMethod);
