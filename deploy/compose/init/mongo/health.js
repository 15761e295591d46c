// Healthy means: the services' own login works, on a primary. mongosh ends with 1 at any exception.
const fs = require("fs");
const headrace = db.getSiblingDB("headrace");
headrace.auth("headrace", fs.readFileSync("/run/headrace/mongo/app_password", "utf8").trim());
if (!headrace.hello().isWritablePrimary) {
  throw new Error("not a primary");
}
