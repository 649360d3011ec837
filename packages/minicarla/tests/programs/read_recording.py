"""Record a drive with a crash, and read it back from the text of show_recorder_file_info.

The text is split at fixed words and columns, as scenario_runner's metrics do it.
"""

import argparse
import json

import carla

LIGHT_STATES = {
    "0": carla.TrafficLightState.Red,
    "1": carla.TrafficLightState.Yellow,
    "2": carla.TrafficLightState.Green,
}


def vector(words, first, unit=0.01):
    """Three words "(x,", "y," and "z)" from ``first`` on."""
    x, y, z = (float(words[first + k].strip("(),")) * unit for k in range(3))
    return carla.Vector3D(x, y, z)


class Rows:
    """Lines of one frame, read from above."""

    def __init__(self, text):
        self.lines = text.split("\n")
        self.at = 0

    def starts(self, start):
        return self.lines[self.at].startswith(start)

    def words(self):
        self.at += 1
        return self.lines[self.at - 1].split()

    def block(self, title):
        """Words of the rows below a title, if it comes next."""
        if self.starts(" " + title):
            count = int(self.words()[-1])
            rows = []
            while self.starts("  "):
                rows.append(self.words())
            assert len(rows) == count or title.startswith("Physics"), (title, count, len(rows))
            return rows
        return []


def read(text):
    head, *frames, foot = text.split("Frame")
    about = {"map": head.split("\n")[1][5:], "date": head.split("\n")[2][6:]}
    about["frames"] = int(foot.split("\n")[0][3:])
    about["duration"] = float(foot.split("\n")[1][10:-8])
    actors, states = {}, []
    for number, frame in enumerate(frames, 1):
        rows = Rows(frame)
        words = rows.words()
        assert words[0] == str(number) and words[1] == "at" and words[3] == "seconds"
        state = {"time": float(words[2]), "collisions": [], "actors": {}}
        while rows.starts(" Create") or rows.starts("  "):
            if rows.starts(" Create"):
                words = rows.words()
                actor = int(words[1][:-1])
                actors[actor] = {"type": words[2], "kind": words[3], "at": vector(words, 5)}
            else:
                key, value = rows.lines[rows.at][2:].split(" = ")
                actors[actor][key] = value
                rows.at += 1
        while rows.starts(" Destroy"):
            actors[int(rows.words()[1])]["destroyed"] = number
        while rows.starts(" Parenting"):
            words = rows.words()
            actors[int(words[1])]["parent"] = int(words[3])
        while rows.starts(" Collision"):
            words = [word for word in rows.words() if word != "(hero)"]
            state["collisions"].append((int(words[2]), int(words[4]), int(words[6])))
        for words in rows.block("Positions"):
            rotation = [float(word.strip("(),")) for word in words[7:10]]
            state["actors"][int(words[1])] = {"at": vector(words, 3), "rotation": rotation}
        for words in rows.block("State traffic lights"):
            state["actors"][int(words[1])] = {
                "state": LIGHT_STATES[words[3]],
                "frozen": bool(int(words[5])),
                "elapsed": float(words[7]),
            }
        for words in rows.block("Vehicle animations"):
            control = carla.VehicleControl(
                throttle=float(words[5]),
                steer=float(words[3]),
                brake=float(words[7]),
                hand_brake=bool(int(words[9])),
                reverse=int(words[11]) < 0,
                gear=int(words[11]),
            )
            state["actors"][int(words[1])]["control"] = control
        for words in rows.block("Walker animations"):
            state["actors"][int(words[1])]["speed"] = float(words[3])
        for words in rows.block("Vehicle light animations"):
            state["actors"][int(words[1])]["lamps"] = words[2:]
        for words in rows.block("Dynamic actors"):
            state["actors"][int(words[1])]["velocity"] = vector(words, 3, 1.0)
        for words in rows.block("Actor bounding boxes"):
            actors[int(words[1])]["extent"] = vector(words, 7)
        for words in rows.block("Actor trigger volumes"):
            actors[int(words[1])]["volume"] = vector(words, 3)
        if rows.starts(" Current platform time"):
            state["platform_time"] = float(rows.words()[-1])
        physics = rows.block("Physics Control events")
        state["masses"] = [float(words[2]) for words in physics if words[0] == "mass"]
        state["wheels"] = sum(words[0] == "wheel" for words in physics)
        state["light_times"] = len(rows.block("Traffic Light time events"))
        assert rows.lines[rows.at :] in ([""], ["", ""]), rows.lines[rows.at :]
        states.append(state)
    assert len(states) == about["frames"]
    return about, actors, states


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--file", default="recording.log")
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    before = client.get_world().get_map().name
    world = client.load_world("grid")
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    library = world.get_blueprint_library()
    start = world.get_map().get_spawn_points()[0]
    ahead = start.get_forward_vector()
    try:
        client.start_recorder(args.file, True)
        blueprint = library.find("vehicle.audi.tt")
        blueprint.set_attribute("role_name", "hero")
        hero = world.spawn_actor(blueprint, start)
        other = world.spawn_actor(
            library.find("vehicle.mini.cooper_s"),
            carla.Transform(start.location + 12.0 * ahead, start.rotation),
        )
        camera = world.spawn_actor(
            library.find("sensor.other.gnss"), carla.Transform(carla.Location(z=2.0)), attach_to=hero
        )
        walker = world.spawn_actor(
            library.find("walker.pedestrian.0001"),
            carla.Transform(start.location + 6.0 * start.get_right_vector(), start.rotation),
        )
        walker.apply_control(carla.WalkerControl(ahead, 1.25))
        hero.set_light_state(
            carla.VehicleLightState(carla.VehicleLightState.Position | carla.VehicleLightState.Fog)
        )
        truth = []
        for tick in range(60):
            hero.apply_control(carla.VehicleControl(throttle=0.75, steer=0.01, hand_brake=tick > 50))
            if tick == 40:
                camera.destroy()
            world.tick()
            snapshot = world.get_snapshot()
            truth.append({actor.id: snapshot.find(actor.id) for actor in (hero, other, walker)})
        light = world.get_actors().filter("traffic.traffic_light*")[0]
        colour = light.get_state()
        client.stop_recorder()
        control, mass = hero.get_control(), hero.get_physics_control().mass
        brief = client.show_recorder_file_info(args.file, False)
        about, actors, states = read(client.show_recorder_file_info(args.file, True))
        crashes = client.show_recorder_collisions(args.file, "h", "v").splitlines()
        standing = client.show_recorder_actors_blocked(args.file, 0.5, 10.0).splitlines()

        def off(number):
            there = states[number]["actors"]
            return max(
                there[who].get("at").distance(was.get_transform().location)
                for who, was in truth[number].items()
            )

        last = states[-1]["actors"]
        turn = truth[-1][hero.id].get_transform().rotation
        hits = [hit for state in states for hit in state["collisions"]]
        result = {
            "about": about,
            "times": [states[0]["time"], states[1]["time"], states[-1]["time"]],
            "off": max(map(off, range(len(states)))),
            "turned": max(
                abs(a - b)
                for a, b in zip(last[hero.id]["rotation"], (turn.roll, turn.pitch, turn.yaw), strict=True)
            ),
            "hero": [actors[hero.id]["type"], actors[hero.id]["kind"], actors[hero.id]["role_name"]],
            "spawned_at": actors[hero.id]["at"].distance(truth[0][hero.id].get_transform().location),
            "parent": actors[camera.id]["parent"] == hero.id,
            "destroyed": actors[camera.id]["destroyed"],
            "collided": hits and {hits[0][1], hits[0][2]} == {hero.id, other.id},
            "numbered": [hit[0] for hit in hits] == list(range(len(hits))),
            "hero_named": f"{hero.id} (hero) " in brief,
            "control": [
                abs(last[hero.id]["control"].throttle - control.throttle),
                abs(last[hero.id]["control"].steer - control.steer),
                last[hero.id]["control"].hand_brake,
            ],
            "lamps": last[hero.id]["lamps"],
            "no_lamps": last[other.id]["lamps"],
            "walker_speed": last[walker.id]["speed"],
            "velocity": (last[hero.id]["velocity"] - truth[-1][hero.id].get_velocity()).length(),
            "light": last[light.id]["state"] == colour,
            "extent": actors[hero.id]["extent"].distance(hero.bounding_box.extent),
            "volume": actors[light.id]["volume"].distance(
                light.get_transform().transform(light.trigger_volume.location)
            ),
            "platform_times": [states[0]["platform_time"], states[-1]["platform_time"]],
            "mass": abs(states[0]["masses"][0] - mass),
            "wheels": states[0]["wheels"],
            "light_times": states[0]["light_times"]
            == len(world.get_actors().filter("traffic.traffic_light*")),
            "brief": [brief.count("Positions"), brief.count("Create"), len(actors)],
            "crashes": crashes,
            "standing": [row.split() for row in standing],
            "ids": [hero.id, other.id],
            "missing": client.show_recorder_file_info("/nowhere/at_all.log", True),
            "not_one": client.show_recorder_file_info(__file__, True),
            "replay_missing": client.replay_file("/nowhere/at_all.log", 0.0, 0.0, 0),
        }
    finally:
        client.load_world(before)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
