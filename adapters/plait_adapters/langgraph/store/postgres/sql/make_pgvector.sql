-- The extension whose indexes know what near means.
create extension if not exists vector
