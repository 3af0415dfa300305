import { METHOD_NAMES } from "../../../lib/erasure/registry";
import { describeMethods } from "../../support/method-contract";

describeMethods(METHOD_NAMES);
