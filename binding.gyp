{
  # npm and prebuildify look for this file; the build itself is CMakeLists.txt's. With "gypfile": false in package.json
  # and no install script, nothing is built behind a user's back at `npm install`.
  "targets": [
    {
      "target_name": "kpop_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/kpop_loader.node", "build/Release/kpop_native.node"],
          "action": ["node", "scripts/setup.mjs"]
        }
      ]
    }
  ]
}
