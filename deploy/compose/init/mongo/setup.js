// Run at every start until it succeeds; changes only what is missing.
// On an empty folder MongoDB lets a client on loopback do two things without a login: initiate the set, and make the
// first user. After that, nothing.
const fs = require("fs");
const secret = (name) => fs.readFileSync(`/run/headrace/mongo/${name}`, "utf8").trim();
const admin = db.getSiblingDB("admin");

if (!db.hello().setName) {
  rs.initiate({ _id: "rs0", members: [{ _id: 0, host: "mongo:27017" }] });
}
while (!db.hello().isWritablePrimary) {
  sleep(100);
}
try {
  admin.auth("root", secret("root_password"));
} catch (error) {
  if (error.codeName !== "AuthenticationFailed") throw error;
  admin.createUser({ user: "root", pwd: secret("root_password"), roles: ["root"] });
  admin.auth("root", secret("root_password"));
}
const headrace = db.getSiblingDB("headrace");
if (headrace.getUser("headrace") === null) {
  // Its own database and nothing else: no other database, no users, no server commands.
  headrace.createUser({
    user: "headrace",
    pwd: secret("app_password"),
    roles: [{ role: "readWrite", db: "headrace" }],
  });
  print("setup: the replica set and its users are ready");
}
